#pragma once
// defines: FirstError

#include <exception>
#include <mutex>
#include <utility>

namespace megalith {

/// What the first of several threads to fail threw.
class FirstError {
 public:
  void keep(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  /// Throws it again; returns where nothing was kept.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace megalith
