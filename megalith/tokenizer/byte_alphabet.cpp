#include "megalith/tokenizer/byte_alphabet.h"

#include <array>

#include "megalith/tokenizer/utf8.h"

namespace megalith {
namespace {

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr int kNumShifted = 68;  // bytes that do not stand for themselves

constexpr std::array<uint16_t, 256> kCodePoints = [] {
  std::array<uint16_t, 256> code_points{};
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    code_points[byte] = is_printable(byte) ? static_cast<uint16_t>(byte) : next++;
  return code_points;
}();

/// By code point; -1 where the alphabet has none.
constexpr std::array<int16_t, 256 + kNumShifted> kBytes = [] {
  std::array<int16_t, 256 + kNumShifted> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[kCodePoints[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

uint32_t byte_to_code_point(uint8_t byte) {
  return kCodePoints[byte];
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string spelling;
  spelling.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_utf8(kCodePoints[static_cast<uint8_t>(byte)], spelling);
  return spelling;
}

std::optional<std::string> alphabet_to_bytes(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  for (size_t begin = 0; begin < spelling.size();) {
    const Utf8Char character = decode_utf8(spelling, begin);
    if (character.num_bytes == 0 || character.code_point >= kBytes.size()) return std::nullopt;
    const int16_t byte = kBytes[character.code_point];
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    begin += character.num_bytes;
  }
  return bytes;
}

}  // namespace megalith
