#include "megalith/train/gather_gradients.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "megalith/base/math.h"
#include "megalith/comm/host_numbers.h"

namespace megalith {
namespace {

constexpr int64_t kWord = sizeof(int64_t);

// What a rank sends, in words: for each parameter the length of its name, its elements, its stretches, the
// name; for each stretch its place in the whole, its length, the numbers.
class Packer {
 public:
  void put(int64_t number) { words_.push_back(number); }
  void put(const void* data, int64_t bytes) {
    const size_t at = words_.size();
    words_.resize(at + static_cast<size_t>(ceil_div(bytes, kWord)));
    std::memcpy(words_.data() + at, data, static_cast<size_t>(bytes));
  }
  int64_t& operator[](size_t place) { return words_[place]; }
  size_t size() const { return words_.size(); }
  const std::vector<int64_t>& words() const { return words_; }

 private:
  std::vector<int64_t> words_;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const int64_t> words) : words_(words) {}
  bool is_at_end() const { return words_.empty(); }
  int64_t number() { return *take(kWord); }
  std::string text(int64_t bytes) {
    return {reinterpret_cast<const char*>(take(bytes)), static_cast<size_t>(bytes)};
  }
  void floats(int64_t count, float* to) {
    const auto bytes = count * static_cast<int64_t>(sizeof(float));
    std::memcpy(to, take(bytes), static_cast<size_t>(bytes));
  }

 private:
  const int64_t* take(int64_t bytes) {
    const int64_t* at = words_.data();
    words_ = words_.subspan(static_cast<size_t>(ceil_div(bytes, kWord)));
    return at;
  }
  std::span<const int64_t> words_;
};

std::vector<int64_t> packed_gradients(const ParameterStore& store) {
  Packer packer;
  store.visit_owned_gradients([&](const Parameter& parameter, int64_t held_begin, const Tensor& gradient) {
    const std::string name = parameter.name();
    const std::vector<float> held = to_vector<float>(gradient);
    const int64_t held_end = held_begin + gradient.numel();
    packer.put(static_cast<int64_t>(name.size()));
    packer.put(parameter.spec.shape.numel());
    const size_t count = packer.size();
    packer.put(0);
    packer.put(name.data(), static_cast<int64_t>(name.size()));
    parameter.spec.visit_runs([&](int64_t first, int64_t begin, int64_t length) {
      const int64_t from = std::max(begin, held_begin), to = std::min(begin + length, held_end);
      if (from >= to) return;
      ++packer[count];
      packer.put(first + from - begin);
      packer.put(to - from);
      packer.put(held.data() + (from - held_begin), (to - from) * static_cast<int64_t>(sizeof(float)));
    });
  });
  return packer.words();
}

void unpack(std::span<const int64_t> words, std::map<std::string, std::vector<float>>& wholes) {
  Unpacker unpacker(words);
  while (!unpacker.is_at_end()) {
    const int64_t name_bytes = unpacker.number(), numel = unpacker.number(),
                  num_stretches = unpacker.number();
    std::vector<float>& whole = wholes[unpacker.text(name_bytes)];
    whole.resize(static_cast<size_t>(numel));
    for (int64_t i = 0; i < num_stretches; ++i) {
      const int64_t place = unpacker.number(), length = unpacker.number();
      unpacker.floats(length, whole.data() + place);
    }
  }
}

}  // namespace

std::map<std::string, std::vector<float>> gather_gradients(Communicator& host, const ParameterStore& store) {
  HostNumbers numbers;
  const std::vector<int64_t> own = packed_gradients(store);
  const auto own_size = static_cast<int64_t>(own.size());
  const std::vector<int64_t> sizes = numbers.gather(host, {&own_size, 1});
  std::map<std::string, std::vector<float>> wholes;
  if (host.rank() != 0) {
    host.send(numbers.make(own), 0, "gradients");
    return wholes;
  }
  unpack(own, wholes);
  for (int rank = 1; rank < host.size(); ++rank) {
    const Tensor of_rank = numbers.make(sizes[static_cast<size_t>(rank)]);
    host.recv(of_rank, rank, "gradients");
    unpack({of_rank.data<int64_t>(), static_cast<size_t>(of_rank.numel())}, wholes);
  }
  return wholes;
}

}  // namespace megalith
