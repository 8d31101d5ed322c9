#pragma once
// defines: NumpyRandomState, NumpyGenerator

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace megalith {

/// numpy.random.RandomState(seed): MT19937, the draws that Megatron's index shuffles make, bit for bit.
/// MT19937: Matsumoto and Nishimura 1998, seeded with init_genrand (multiplier 1812433253).
class NumpyRandomState {
 public:
  explicit NumpyRandomState(uint32_t seed);

  uint32_t next_u32();
  /// Uniform in [0, max] by masked rejection: one 32-bit draw a try, two (high word first) above 2^32 - 1.
  uint64_t bounded(uint64_t max);

  /// RandomState.shuffle of a one-dimensional array: each value, from the last one on, changes places with
  /// one at or before it. Places are drawn ahead of their swaps, for which memory gets ready meanwhile.
  template <class T>
  void shuffle(std::span<T> values) {
    std::array<uint64_t, 64> places;
    for (size_t left = values.size(); left > 1;) {
      const std::span<uint64_t> drawn = std::span(places).first(std::min(places.size(), left - 1));
      draw_places(left - 1, drawn);
      for (const uint64_t place : drawn) __builtin_prefetch(&values[place], 1);
      for (const uint64_t place : drawn) std::swap(values[--left], values[place]);
    }
  }

 private:
  static constexpr int kWords = 624;
  void refill();
  /// bounded(last), bounded(last - 1) and so on, down to 1 at least.
  void draw_places(uint64_t last, std::span<uint64_t> places);

  std::array<uint32_t, kWords> state_;
  int next_ = kWords;
};

/// numpy.random.default_rng(seed): PCG64 (XSL-RR 128/64) seeded through SeedSequence, as far as the mock data
/// set needs it.
class NumpyGenerator {
 public:
  explicit NumpyGenerator(uint32_t seed);

  uint64_t next_u64();
  /// The low half of a 64-bit draw, then its high half.
  uint32_t next_u32();
  /// Generator.integers(low, high, size=count, dtype=int32): Lemire's multiplication with rejection.
  /// low < high, and the range fits 32 bits.
  std::vector<int32_t> integers(int32_t low, int32_t high, int64_t count);

 private:
  __extension__ using Uint128 = unsigned __int128;
  Uint128 state_ = 0;
  Uint128 increment_ = 0;
  uint32_t kept_half_ = 0;
  bool has_kept_half_ = false;
};

}  // namespace megalith
