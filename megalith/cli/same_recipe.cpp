#include "megalith/cli/same_recipe.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "megalith/base/math.h"
#include "megalith/comm/host_numbers.h"
#include "megalith/config/recipe_difference.h"
#include "megalith/io/xxh64.h"

namespace megalith {
namespace {

// The text of rank 0.
std::string broadcast_text(Communicator& host, const std::string& own, HostNumbers& numbers) {
  const auto size = static_cast<int64_t>(own.size());
  const Tensor length = numbers.make({&size, 1});
  host.broadcast(length, 0, "recipe");
  const int64_t bytes = length.data<int64_t>()[0];
  const Tensor text = numbers.make(ceil_div<int64_t>(bytes, sizeof(int64_t)));
  if (host.rank() == 0) std::memcpy(text.raw(), own.data(), own.size());
  host.broadcast(text, 0, "recipe");
  return {reinterpret_cast<const char*>(text.raw()), static_cast<size_t>(bytes)};
}

}  // namespace

std::string first_difference(const std::string& here, const std::string& there) {
  if (here == there) return {};
  const std::vector<RecipeDifference> differences = recipe_differences(here, there);
  if (differences.empty()) return "the texts differ, but no key does";
  const RecipeDifference& first = differences.front();
  return fmt::format("{} is {} here and {} there", first.key, first.here, first.there);
}

void check_same_recipe(Communicator& host, const std::string& yaml) {
  HostNumbers numbers;
  const auto own = static_cast<int64_t>(xxh64(std::as_bytes(std::span(yaml))));
  const std::vector<int64_t> hashes = numbers.gather(host, {&own, 1});
  if (std::all_of(hashes.begin(), hashes.end(), [&](int64_t hash) { return hash == hashes[0]; })) return;
  const std::string first = broadcast_text(host, yaml, numbers);
  if (own != hashes[0])
    fail("rank {} has another recipe than rank 0: {}", host.rank(), first_difference(yaml, first));
  host.barrier("recipe");  // fails with those that differ
}

}  // namespace megalith
