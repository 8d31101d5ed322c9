#pragma once
// defines: Xxh64, xxh64

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace megalith {

/// The 64-bit checksum XXH64 with seed 0 of bytes that come in pieces. It finds damage, not malice.
/// Specification: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
class Xxh64 {
 public:
  void update(std::span<const std::byte> bytes);
  /// Of everything so far; more may follow.
  uint64_t digest() const;

 private:
  static constexpr size_t kStripeBytes = 32;
  void consume(const std::byte* stripes, size_t count);

  std::array<uint64_t, 4> lanes_ = {0x60EA27EEADC0B5D6u, 0xC2B2AE3D27D4EB4Fu, 0, 0x61C8864E7A143579u};
  std::array<std::byte, kStripeBytes> rest_{};  ///< the start of a stripe that is not whole yet
  uint64_t num_bytes_ = 0;
};

uint64_t xxh64(std::span<const std::byte> bytes);

}  // namespace megalith
