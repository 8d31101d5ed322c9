#pragma once
// defines: philox4x32, RngKey, uniform_from_bits, normal_from_block

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace megalith {

/// Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011): ten rounds over a
/// 128-bit counter with a 64-bit key.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// A point in the space of random streams. Values depend only on (key, index of the element), so recompute,
/// another thread count or another sharding draws the same numbers and no generator state has to be saved.
struct RngKey {
  uint64_t seed = 0;
  uint64_t stream = 0;

  /// A stream of its own under this one: for a layer, an op, a step.
  constexpr RngKey fold(uint64_t id) const {
    const auto mixed = philox4x32({static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32),
                                   static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    return {seed, (uint64_t{mixed[1]} << 32) | mixed[0]};
  }
  constexpr RngKey fold(std::string_view name) const {
    uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    return fold(hash);
  }

  /// Four random words for a block of four elements.
  constexpr std::array<uint32_t, 4> block(uint64_t index) const {
    return philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                       static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
  constexpr uint32_t bits(uint64_t element) const { return block(element / 4)[element % 4]; }
};

/// In (0, 1): 23 bits, centred, so neither end is reached; with 24 the largest would round to 1.
constexpr float uniform_from_bits(uint32_t bits) {
  return (static_cast<float>(bits >> 9) + 0.5f) * 0x1p-23f;
}

/// Normal deviates of a block of four by Box and Muller, in double so that every platform agrees to the last
/// float bit.
inline std::array<float, 4> normal_from_block(const std::array<uint32_t, 4>& words) {
  std::array<float, 4> values{};
  for (int pair = 0; pair < 2; ++pair) {
    const double u = (words[2 * pair] + 0.5) * 0x1p-32;
    const double angle = 2 * std::numbers::pi * (words[2 * pair + 1] + 0.5) * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(u));
    values[2 * pair] = static_cast<float>(radius * std::cos(angle));
    values[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return values;
}

}  // namespace megalith
