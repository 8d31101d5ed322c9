#include "megalith/data/numpy_random.h"

#include <bit>
#include <limits>

#include "megalith/base/error.h"

namespace megalith {

NumpyRandomState::NumpyRandomState(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
}

void NumpyRandomState::refill() {
  constexpr int kShift = 397;
  const auto renew = [this](int i, int next, int shifted) {
    const uint32_t joined = (state_[i] & 0x80000000u) | (state_[next] & 0x7fffffffu);
    const uint32_t twist = (joined & 1u) != 0 ? 0x9908b0dfu : 0u;
    state_[i] = state_[shifted] ^ (joined >> 1) ^ twist;
  };
  for (int i = 0; i < kWords - kShift; ++i) renew(i, i + 1, i + kShift);
  for (int i = kWords - kShift; i < kWords - 1; ++i) renew(i, i + 1, i + kShift - kWords);
  renew(kWords - 1, 0, kShift - 1);
  next_ = 0;
}

uint32_t NumpyRandomState::next_u32() {
  if (next_ == kWords) refill();
  uint32_t y = state_[next_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  y ^= y >> 18;
  return y;
}

uint64_t NumpyRandomState::bounded(uint64_t max) {
  if (max == 0) return 0;
  uint64_t place = 0;
  draw_places(max, {&place, 1});
  return place;
}

void NumpyRandomState::draw_places(uint64_t last, std::span<uint64_t> places) {
  // The next draw overwrites one that is too large: a branch there would often be foreseen wrongly.
  for (size_t i = 0; i < places.size();) {
    const uint64_t max = last - i;
    const uint64_t mask = std::numeric_limits<uint64_t>::max() >> std::countl_zero(max);
    const uint64_t high = max > std::numeric_limits<uint32_t>::max() ? uint64_t{next_u32()} << 32 : 0;
    places[i] = (high | next_u32()) & mask;
    i += places[i] <= max ? 1 : 0;
  }
}

namespace {

// SeedSequence of NumPy (after O'Neill's seed_seq_fe), for a single 32-bit entropy word and a pool of four.
constexpr uint32_t kInitA = 0x43b0d7e5u;
constexpr uint32_t kMultA = 0x931e8875u;
constexpr uint32_t kInitB = 0x8b51f9ddu;
constexpr uint32_t kMultB = 0x58f38dedu;
constexpr uint32_t kMixLeft = 0xca01f9ddu;
constexpr uint32_t kMixRight = 0x4973f715u;
constexpr int kXorShift = 16;

std::array<uint32_t, 8> seed_words(uint32_t entropy) {
  uint32_t multiplier = kInitA;
  const auto hashed = [&](uint32_t value) {
    value ^= multiplier;
    multiplier *= kMultA;
    value *= multiplier;
    return value ^ (value >> kXorShift);
  };
  std::array<uint32_t, 4> pool{};
  for (size_t i = 0; i < pool.size(); ++i) pool[i] = hashed(i == 0 ? entropy : 0);
  for (size_t source = 0; source < pool.size(); ++source) {
    for (size_t target = 0; target < pool.size(); ++target) {
      if (source == target) continue;
      const uint32_t mixed = kMixLeft * pool[target] - kMixRight * hashed(pool[source]);
      pool[target] = mixed ^ (mixed >> kXorShift);
    }
  }
  std::array<uint32_t, 8> words{};
  uint32_t output_multiplier = kInitB;
  for (size_t i = 0; i < words.size(); ++i) {
    uint32_t value = pool[i % pool.size()] ^ output_multiplier;
    output_multiplier *= kMultB;
    value *= output_multiplier;
    words[i] = value ^ (value >> kXorShift);
  }
  return words;
}

__extension__ using Uint128 = unsigned __int128;

constexpr Uint128 join(uint64_t high, uint64_t low) {
  return static_cast<Uint128>(high) << 64 | low;
}

constexpr Uint128 kPcgMultiplier = join(0x2360ED051FC65DA4ull, 0x4385DF649FCCF645ull);

}  // namespace

NumpyGenerator::NumpyGenerator(uint32_t seed) {
  const std::array<uint32_t, 8> words = seed_words(seed);
  const auto word64 = [&](int i) { return static_cast<uint64_t>(words[2 * i + 1]) << 32 | words[2 * i]; };
  increment_ = join(word64(2), word64(3)) << 1 | 1;
  state_ = increment_ + join(word64(0), word64(1));
  state_ = state_ * kPcgMultiplier + increment_;
}

uint64_t NumpyGenerator::next_u64() {
  state_ = state_ * kPcgMultiplier + increment_;
  const auto folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  return std::rotr(folded, static_cast<int>(state_ >> 122));
}

uint32_t NumpyGenerator::next_u32() {
  if (has_kept_half_) {
    has_kept_half_ = false;
    return kept_half_;
  }
  const uint64_t both = next_u64();
  kept_half_ = static_cast<uint32_t>(both >> 32);
  has_kept_half_ = true;
  return static_cast<uint32_t>(both);
}

std::vector<int32_t> NumpyGenerator::integers(int32_t low, int32_t high, int64_t count) {
  MG_ASSERT(low < high);
  const auto range = static_cast<uint32_t>(static_cast<int64_t>(high) - low);
  const uint32_t threshold = (0u - range) % range;
  std::vector<int32_t> values(static_cast<size_t>(count));
  for (int32_t& value : values) {
    uint64_t product = static_cast<uint64_t>(next_u32()) * range;
    while (static_cast<uint32_t>(product) < threshold) product = static_cast<uint64_t>(next_u32()) * range;
    value = static_cast<int32_t>(low + static_cast<int64_t>(product >> 32));
  }
  return values;
}

}  // namespace megalith
