#include "megalith/train/gather_gradients.h"

#include <algorithm>
#include <span>

#include "megalith/comm/host_numbers.h"
#include "megalith/comm/packed_words.h"

namespace megalith {
namespace {

// What a rank sends: for each parameter the length of its name, its elements, its stretches, the name; for
// each stretch its place in the whole, its length, the numbers.
std::vector<int64_t> packed_gradients(const ParameterStore& store) {
  WordPacker packer;
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
  WordUnpacker unpacker(words);
  while (!unpacker.is_at_end()) {
    const int64_t name_bytes = unpacker.number(), numel = unpacker.number(),
                  num_stretches = unpacker.number();
    std::vector<float>& whole = wholes[unpacker.text(name_bytes)];
    whole.resize(static_cast<size_t>(numel));
    for (int64_t i = 0; i < num_stretches; ++i) {
      const int64_t place = unpacker.number(), length = unpacker.number();
      unpacker.get(whole.data() + place, length * static_cast<int64_t>(sizeof(float)));
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
