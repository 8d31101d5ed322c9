#include "megalith/tokenizer/utf8.h"

#include <algorithm>

namespace megalith {
namespace {

/// What the lead byte says about its sequence. num_bytes is 0 for a byte that leads nothing.
struct Lead {
  uint32_t num_bytes;
  uint8_t second_min;  ///< the second byte has its own bounds, which exclude overlong forms and surrogates
  uint8_t second_max;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0x80, 0xBF};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

bool continues(const Lead& lead, size_t index, uint8_t byte) {
  return index == 1 ? byte >= lead.second_min && byte <= lead.second_max : (byte & 0xC0) == 0x80;
}

}  // namespace

Utf8Char decode_utf8(std::string_view text, size_t begin) {
  const auto first = static_cast<uint8_t>(text[begin]);
  const Lead lead = lead_of(first);
  if (lead.num_bytes == 1) return {first, 1};
  if (lead.num_bytes == 0 || text.size() - begin < lead.num_bytes) return {};
  uint32_t code_point = first & (0x7Fu >> lead.num_bytes);
  for (size_t i = 1; i < lead.num_bytes; ++i) {
    const auto byte = static_cast<uint8_t>(text[begin + i]);
    if (!continues(lead, i, byte)) return {};
    code_point = code_point << 6 | (byte & 0x3F);
  }
  return {code_point, lead.num_bytes};
}

bool is_utf8(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const uint32_t num_bytes = decode_utf8(text, begin).num_bytes;
    if (num_bytes == 0) return false;
    begin += num_bytes;
  }
  return true;
}

void append_utf8(uint32_t code_point, std::string& text) {
  const auto continuation = [&](int shift) {
    text += static_cast<char>(0x80 | (code_point >> shift & 0x3F));
  };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xC0 | code_point >> 6);
    continuation(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xE0 | code_point >> 12);
    continuation(6);
    continuation(0);
  } else {
    text += static_cast<char>(0xF0 | code_point >> 18);
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

size_t incomplete_utf8_suffix(std::string_view text) {
  const size_t longest = std::min<size_t>(3, text.size());
  for (size_t length = 1; length <= longest; ++length) {
    const std::string_view suffix = text.substr(text.size() - length);
    const auto first = static_cast<uint8_t>(suffix[0]);
    if ((first & 0xC0) == 0x80) continue;  // the lead byte is further left
    const Lead lead = lead_of(first);
    if (lead.num_bytes <= length) return 0;
    for (size_t i = 1; i < length; ++i)
      if (!continues(lead, i, static_cast<uint8_t>(suffix[i]))) return 0;
    return length;
  }
  return 0;
}

}  // namespace megalith
