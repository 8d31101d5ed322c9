#pragma once
// defines: Shape

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "megalith/base/error.h"

namespace megalith {

/// Up to six extents, outermost first. A negative index counts from the end.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    MG_CHECK(dims.size() <= kMaxRank, "a shape has at most {} dimensions, not {}", kMaxRank, dims.size());
    for (int i = 0; i < rank_; ++i) dims_[i] = dims[i];
  }

  int rank() const { return rank_; }
  int64_t operator[](int dim) const { return dims_[index(dim)]; }
  void set(int dim, int64_t extent) { dims_[index(dim)] = extent; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  /// "[4, 128, 256]"
  std::string str() const;

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  int index(int dim) const {
    const int i = dim < 0 ? dim + rank_ : dim;
    MG_ASSERT(i >= 0 && i < rank_);
    return i;
  }

  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace megalith
