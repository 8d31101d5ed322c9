#include "megalith/io/xxh64.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace megalith {
namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5u;

template <class Word>
Word load(const std::byte* place) {
  Word word;
  std::memcpy(&word, place, sizeof word);
  return word;
}

uint64_t round(uint64_t lane, uint64_t word) {
  return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

}  // namespace

void Xxh64::consume(const std::byte* stripes, size_t count) {
  auto [a, b, c, d] = lanes_;
  for (size_t i = 0; i < count; ++i, stripes += kStripeBytes) {
    a = round(a, load<uint64_t>(stripes));
    b = round(b, load<uint64_t>(stripes + 8));
    c = round(c, load<uint64_t>(stripes + 16));
    d = round(d, load<uint64_t>(stripes + 24));
  }
  lanes_ = {a, b, c, d};
}

void Xxh64::update(std::span<const std::byte> bytes) {
  const size_t held = num_bytes_ % kStripeBytes;
  num_bytes_ += bytes.size();
  if (held > 0) {
    const size_t taken = std::min(kStripeBytes - held, bytes.size());
    std::copy_n(bytes.data(), taken, rest_.data() + held);
    bytes = bytes.subspan(taken);
    if (held + taken < kStripeBytes) return;
    consume(rest_.data(), 1);
  }
  const size_t stripes = bytes.size() / kStripeBytes;
  consume(bytes.data(), stripes);
  const auto tail = bytes.subspan(stripes * kStripeBytes);
  std::copy(tail.begin(), tail.end(), rest_.begin());
}

uint64_t Xxh64::digest() const {
  uint64_t hash = lanes_[2] + kPrime5;
  if (num_bytes_ >= kStripeBytes) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
  }
  hash += num_bytes_;
  const std::byte* next = rest_.data();
  const std::byte* const end = next + num_bytes_ % kStripeBytes;
  for (; end - next >= 8; next += 8) {
    hash = std::rotl(hash ^ round(0, load<uint64_t>(next)), 27) * kPrime1 + kPrime4;
  }
  for (; end - next >= 4; next += 4) {
    hash = std::rotl(hash ^ (load<uint32_t>(next) * kPrime1), 23) * kPrime2 + kPrime3;
  }
  for (; next < end; ++next) {
    hash = std::rotl(hash ^ (static_cast<uint64_t>(*next) * kPrime5), 11) * kPrime1;
  }
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

uint64_t xxh64(std::span<const std::byte> bytes) {
  Xxh64 hash;
  hash.update(bytes);
  return hash.digest();
}

}  // namespace megalith
