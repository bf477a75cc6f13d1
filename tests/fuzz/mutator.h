// Mutations of text by tokens and lines, and of any input by bytes: for libFuzzer beside its own, and for the
// short random run of the ordinary tests.
#pragma once

#include <string>

#include "tests/fuzz/random.h"

namespace ptxops::fuzz {

// `other`: text to take pieces from. Never empty unless the input was.
std::string mutate_text(const std::string& text, const std::string& other, Random& random);
std::string mutate_bytes(const std::string& bytes, Random& random);

}  // namespace ptxops::fuzz
