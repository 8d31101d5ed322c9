#include "megalith/tokenizer/added_tokens.h"

#include <algorithm>

namespace megalith {

void AddedTokenMatcher::add(const AddedToken& token) {
  auto& bucket = by_first_byte_[static_cast<uint8_t>(token.content.front())];
  const auto place = std::find_if(bucket.begin(), bucket.end(), [&](const AddedToken& other) {
    return other.content.size() < token.content.size();
  });
  bucket.insert(place, token);
  ++num_tokens_;
}

AddedTokenMatcher::Match AddedTokenMatcher::find(std::string_view text, size_t begin) const {
  for (; begin < text.size(); ++begin)
    for (const AddedToken& token : by_first_byte_[static_cast<uint8_t>(text[begin])])
      if (text.substr(begin).starts_with(token.content))
        return {begin, begin + token.content.size(), token.id};
  return {text.size(), text.size(), -1};
}

}  // namespace megalith
