#pragma once
// defines: kVersion

namespace megalith {

/// Equal to the project's version in CMakeLists.txt.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace megalith
