#pragma once
// defines: GemmAlgorithm, GemmTable, builtin_gemm_tables

#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "megalith/kernels/cuda/vendor/gemm_key.h"

namespace megalith::cuda {

/// cuBLASLt's algorithm in its own form: valid for the version of the library that gave it.
struct GemmAlgorithm {
  std::array<uint64_t, 8> words{};
  bool operator==(const GemmAlgorithm&) const = default;
};

/// Algorithms that were measured to be the fastest for their products, for one kind of GPU and one version of
/// cuBLASLt. The algorithm of a product is then the same in every run, and so are the bits of its result.
///
/// As text: a first line "gemm_table VERSION DEVICE NAME", then a line for each product of aligned operands:
///     M N K LAYOUT IN OUT EPILOGUE A_STRIDE B_STRIDE C_STRIDE 8_WORDS # remark
/// IN is tf32 where f32 operands are rounded to it, LAYOUT is N or T for A and B each, EPILOGUE is "-", "C"
/// (the old C or an addend is added) or "bias".
class GemmTable {
 public:
  GemmTable(size_t library_version, std::string device_name)
      : library_version_(library_version), device_name_(std::move(device_name)) {}
  /// The file that MEGALITH_GEMM_TABLE names, which must be of this library and device, else all that is
  /// built in for them.
  static GemmTable for_device(size_t library_version, const std::string& device_name);
  /// Throws Error naming `source` and the line that is wrong.
  static GemmTable parse(std::string_view text, const std::string& source);

  /// Null where the table has none; always for operands that are not aligned.
  const GemmAlgorithm* find(const GemmKey& key) const;
  void add(const GemmKey& key, const GemmAlgorithm& algorithm, std::string remark);
  std::string text() const;

  size_t size() const { return entries_.size(); }
  size_t library_version() const { return library_version_; }
  const std::string& device_name() const { return device_name_; }

 private:
  struct Entry {
    GemmAlgorithm algorithm;
    std::string remark;
  };
  size_t library_version_;
  std::string device_name_;
  std::map<GemmKey, Entry> entries_;
};

/// Tables that come with the library.
std::span<const std::string_view> builtin_gemm_tables();

}  // namespace megalith::cuda
