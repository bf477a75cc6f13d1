// Which sanitizer this program is built with: limits of time and of resident memory are not its own then.
#pragma once

namespace ptxops::test {

// gcc tells by macros, clang by features.
#ifndef __has_feature
#define __has_feature(feature) 0
#define PTXOPS_NO_FEATURES
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#ifdef PTXOPS_NO_FEATURES
#undef __has_feature
#undef PTXOPS_NO_FEATURES
#endif

}  // namespace ptxops::test
