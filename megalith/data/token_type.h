#pragma once
// defines: TokenType, token_type_bytes, token_type_name, token_type_from_code, token_type_for_vocab

#include <cstdint>
#include <optional>

namespace megalith {

/// Integer element types of a Megatron token file; the values are the codes at offset 17 of the .idx file.
/// (6 and 7 are float64 and float32, which hold no tokens.)
enum class TokenType : uint8_t { kU8 = 1, kI8 = 2, kI16 = 3, kI32 = 4, kI64 = 5, kU16 = 8 };

int64_t token_type_bytes(TokenType type);
const char* token_type_name(TokenType type);
std::optional<TokenType> token_type_from_code(uint8_t code);

/// Megatron's choice for new files: 16 bits below 65500 ids, 32 bits from there on.
TokenType token_type_for_vocab(int64_t vocab_size);

}  // namespace megalith
