#pragma once
// defines: PhiloxKey, kPhiloxTile, philox_words

#include <cstdint>

namespace megalith::cpu {

struct PhiloxKey {
  uint64_t seed = 0;
  uint64_t stream = 0;
};

/// Blocks of four words that are drawn together.
constexpr int kPhiloxTile = 64;

/// The words of blocks [first, first + kPhiloxTile) in the layout words[lane][block]: RngKey::block(first +
/// i) is words[0..3][i]. Philox4x32-10 with the counters side by side, so that it vectorises.
[[gnu::always_inline]] static inline void philox_words(PhiloxKey rng, uint64_t first,
                                                       uint32_t (&words)[4][kPhiloxTile]) {
#pragma omp simd
  for (int i = 0; i < kPhiloxTile; ++i) {
    const uint64_t index = first + static_cast<uint64_t>(i);
    uint32_t c0 = static_cast<uint32_t>(index);
    uint32_t c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = static_cast<uint32_t>(rng.stream);
    uint32_t c3 = static_cast<uint32_t>(rng.stream >> 32);
    uint32_t k0 = static_cast<uint32_t>(rng.seed);
    uint32_t k1 = static_cast<uint32_t>(rng.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t product0 = uint64_t{0xD2511F53u} * c0;
      const uint64_t product1 = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(product1);
      c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(product0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[0][i] = c0;
    words[1][i] = c1;
    words[2][i] = c2;
    words[3][i] = c3;
  }
}

}  // namespace megalith::cpu
