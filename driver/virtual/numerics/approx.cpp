#include "driver/virtual/numerics/approx.h"

#include <cmath>

namespace ptxops::virt::numerics::detail {

double sin_double(double x) {
  return std::sin(x);
}
double cos_double(double x) {
  return std::cos(x);
}
double tanh_double(double x) {
  return std::tanh(x);
}

}  // namespace ptxops::virt::numerics::detail
