// How far a result is from the exact one, in units of a reference's distance from it.
#pragma once

#include <cmath>

namespace ptxops::test {

class Accuracy {
 public:
  void add(double exact, double have, double reference) {
    ours_.add(exact, have);
    reference_.add(exact, reference);
  }
  double rms() const { return std::sqrt(ours_.square / reference_.square); }
  double cosine() const { return ours_.cosine() / reference_.cosine(); }
  double cosine_distance() const { return ours_.cosine(); }  // itself

 private:
  struct Distance {
    double square = 0, dot = 0, norm = 0, exact_norm = 0;
    void add(double exact, double x) {
      square += (x - exact) * (x - exact);
      dot += x * exact, norm += x * x, exact_norm += exact * exact;
    }
    double cosine() const { return 1 - dot / std::sqrt(norm * exact_norm); }
  };
  Distance ours_, reference_;
};

}  // namespace ptxops::test
