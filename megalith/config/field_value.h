#pragma once
// defines: FieldKind, FieldType, type_of, FieldText, set_field, read_field, to_text, describe_allowed

#include <string>
#include <string_view>
#include <vector>

#include "megalith/config/field.h"

namespace megalith {

enum class FieldKind { kBool, kInteger, kNumber, kString };

struct FieldType {
  FieldKind kind;
  bool is_list;
  bool is_optional;
};
FieldType type_of(const Field& field);

/// A value as text, the common form of recipes, flags and printing.
struct FieldText {
  enum class Form { kNull, kScalar, kList };
  Form form = Form::kScalar;
  std::vector<std::string> items;  ///< one for a scalar
};

/// Converts, checks against the field's rule and stores. `place` says where the value stands
/// ("recipe.yaml:12: lr", "--lr"). Throws UsageError with the place, the value and what is allowed; the field
/// is then unchanged.
void set_field(Field& field, const FieldText& text, const std::string& place);

FieldText read_field(const Field& field);

/// The value on one line: list elements separated by spaces, "" for null.
std::string to_text(const Field& field);

/// "a number >= 0", "an integer in [1, 8]", "one of a, b, c", "true or false".
std::string describe_allowed(const Field& field);

}  // namespace megalith
