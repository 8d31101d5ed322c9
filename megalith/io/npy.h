#pragma once
// defines: NpyType, npy_type_of, npy_item_bytes, npy_type_name, NpyArray, read_npy, write_npy

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "megalith/io/mmap_file.h"

namespace megalith {

/// Element types of NumPy's .npy files that are read and written here, little-endian.
enum class NpyType { kInt8, kUint8, kInt16, kUint16, kInt32, kUint32, kInt64, kUint64, kFloat32, kFloat64 };

template <class T>
constexpr NpyType npy_type_of() {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>, "not an element type of a .npy file");
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? NpyType::kFloat32 : NpyType::kFloat64;
  } else {
    constexpr NpyType kSigned[] = {NpyType::kInt8, NpyType::kInt16, NpyType::kInt32, NpyType::kInt64};
    constexpr NpyType kUnsigned[] = {NpyType::kUint8, NpyType::kUint16, NpyType::kUint32, NpyType::kUint64};
    constexpr int kLog2 = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return std::is_signed_v<T> ? kSigned[kLog2] : kUnsigned[kLog2];
  }
}

int64_t npy_item_bytes(NpyType type);
/// "int32", "float32", ...
const char* npy_type_name(NpyType type);

/// The array of a .npy file, row-major, mapped and not copied. The elements start at a multiple of 16 bytes.
class NpyArray {
 public:
  NpyArray(MmapFile file, NpyType type, std::vector<int64_t> shape, size_t data_offset);

  NpyType type() const { return type_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t num_elements() const { return num_elements_; }
  const std::filesystem::path& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes().subspan(data_offset_); }

  /// All elements; throws Error unless the file holds exactly this type.
  template <class T>
  std::span<const T> values() const {
    require_type(npy_type_of<T>());
    return {reinterpret_cast<const T*>(bytes().data()), static_cast<size_t>(num_elements_)};
  }

 private:
  void require_type(NpyType wanted) const;

  MmapFile file_;
  NpyType type_;
  std::vector<int64_t> shape_;
  int64_t num_elements_ = 1;
  size_t data_offset_;
};

/// Format versions 1 to 3, C order, the types above. Anything else, a truncated file, or one that is longer
/// than its shape says, throws Error naming the file and the rule.
NpyArray read_npy(const std::filesystem::path& path);

/// Format version 1, published atomically. `bytes` holds the elements in row-major order.
void write_npy(const std::filesystem::path& path, NpyType type, std::span<const int64_t> shape,
               std::span<const std::byte> bytes);

template <class T>
void write_npy(const std::filesystem::path& path, std::span<const T> values,
               std::initializer_list<int64_t> shape) {
  write_npy(path, npy_type_of<T>(), std::span(shape.begin(), shape.size()), std::as_bytes(values));
}

}  // namespace megalith
