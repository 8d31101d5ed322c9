#include "megalith/cli/same_recipe.h"

#include <algorithm>
#include <span>
#include <vector>

#include "megalith/comm/host_numbers.h"
#include "megalith/config/recipe_difference.h"
#include "megalith/io/xxh64.h"

namespace megalith {
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
  const std::string first = numbers.broadcast(host, yaml, 0, "recipe");
  if (own != hashes[0])
    fail("rank {} has another recipe than rank 0: {}", host.rank(), first_difference(yaml, first));
  host.barrier("recipe");  // fails with those that differ
}

}  // namespace megalith
