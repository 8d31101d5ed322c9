#include "megalith/cli/same_recipe.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/comm/host_numbers.h"
#include "megalith/io/xxh64.h"

namespace megalith {
namespace {

using Entry = std::pair<std::string, std::string>;  // "section.key", value

// Reads what the recipe writer writes: sections at the margin, "key: value" or list items under them.
std::vector<Entry> entries_of(const std::string& yaml) {
  std::vector<Entry> entries;
  std::string section;
  for (const std::string& line : split(yaml, '\n')) {
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(' ');
    if (begin == std::string::npos || line[begin] == '#') continue;
    if (begin == 0 && colon != std::string::npos) section = line.substr(0, colon);
    if (line[begin] == '-' && !entries.empty())
      entries.back().second += line.substr(begin + 1);
    else if (begin > 0 && colon != std::string::npos)
      entries.push_back({section + "." + line.substr(begin, colon - begin), line.substr(colon + 1)});
  }
  return entries;
}

std::string value_at(const std::vector<Entry>& entries, const std::string& key) {
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.first == key; });
  if (entry == entries.end()) return "not set";
  const size_t begin = entry->second.find_first_not_of(' ');
  return begin == std::string::npos ? "empty" : entry->second.substr(begin);
}

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
  const std::vector<Entry> own = entries_of(here), other = entries_of(there);
  for (const std::vector<Entry>* entries : {&own, &other})
    for (const auto& [key, value] : *entries)
      if (value_at(own, key) != value_at(other, key))
        return fmt::format("{} is {} here and {} there", key, value_at(own, key), value_at(other, key));
  return "the texts differ, but no key does";
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
