#include "megalith/config/field.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/config/field_value.h"

namespace megalith {
namespace {

bool is_snake_case(const std::string& name) {
  return !name.empty() && name.front() >= 'a' && name.front() <= 'z' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

}  // namespace

void FieldList::add(std::string name, FieldTarget target, FieldInfo info) {
  MG_ASSERT(is_snake_case(name));
  Field field{.name = std::move(name), .target = target, .info = std::move(info)};
  field.default_text = to_text(field);
  fields_.push_back(std::move(field));
}

}  // namespace megalith
