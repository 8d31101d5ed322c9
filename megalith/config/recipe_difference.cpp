#include "megalith/config/recipe_difference.h"

#include <algorithm>
#include <utility>

#include "megalith/base/text.h"

namespace megalith {
namespace {

using Entry = std::pair<std::string, std::string>;  // "section.key", value

// Sections at the margin, "key: value" or list items under them.
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

bool has_key(const std::vector<RecipeDifference>& differences, const std::string& key) {
  return std::any_of(differences.begin(), differences.end(),
                     [&](const RecipeDifference& difference) { return difference.key == key; });
}

}  // namespace

std::vector<RecipeDifference> recipe_differences(const std::string& here, const std::string& there) {
  const std::vector<Entry> own = entries_of(here), other = entries_of(there);
  std::vector<RecipeDifference> differences;
  for (const std::vector<Entry>* entries : {&own, &other})
    for (const auto& [key, value] : *entries)
      if (value_at(own, key) != value_at(other, key) && !has_key(differences, key))
        differences.push_back({key, value_at(own, key), value_at(other, key)});
  return differences;
}

}  // namespace megalith
