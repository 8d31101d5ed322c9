#pragma once
// defines: TemporaryDirectory

#include <filesystem>
#include <string>

#include <stdlib.h>

#include "megalith/base/error.h"

namespace megalith::testing {

/// An empty directory that lives as long as the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "megalith_test_XXXXXX").string();
    MG_CHECK(::mkdtemp(name.data()) != nullptr, "{}: cannot be made", name);
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace megalith::testing
