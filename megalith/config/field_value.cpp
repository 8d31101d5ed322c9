#include "megalith/config/field_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "megalith/base/error.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

template <class T>
struct Unwrapped {
  using Element = T;
  static constexpr bool kIsList = false;
  static constexpr bool kIsOptional = false;
};
template <class T>
struct Unwrapped<std::vector<T>> {
  using Element = T;
  static constexpr bool kIsList = true;
  static constexpr bool kIsOptional = false;
};
template <class T>
struct Unwrapped<std::optional<T>> {
  using Element = typename Unwrapped<T>::Element;
  static constexpr bool kIsList = Unwrapped<T>::kIsList;
  static constexpr bool kIsOptional = true;
};

template <class T>
constexpr FieldKind kind_of() {
  if constexpr (std::is_same_v<T, bool>) return FieldKind::kBool;
  if constexpr (std::is_same_v<T, int64_t>) return FieldKind::kInteger;
  if constexpr (std::is_same_v<T, double>) return FieldKind::kNumber;
  return FieldKind::kString;
}

[[noreturn]] void reject(const Field& field, const std::string& place, const std::string& value) {
  throw UsageError(
      fmt::format("{}: '{}' is not allowed; it takes {}", place, value, describe_allowed(field)));
}

bool in_range(const FieldInfo& info, double value) {
  return (!info.min || value >= *info.min) && (!info.above || value > *info.above) &&
         (!info.max || value <= *info.max) && (!info.below || value < *info.below);
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <class T>
T parse_element(const Field& field, const std::string& text, const std::string& place) {
  T value{};
  if constexpr (std::is_same_v<T, bool>) {
    value = text == "true" || text == "True";
    if (!value && text != "false" && text != "False") reject(field, place, text);
  } else if constexpr (std::is_same_v<T, std::string>) {
    const auto& allowed = field.info.allowed;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
      reject(field, place, text);
    }
    value = text;
  } else {
    if (!parse_number(text, value)) reject(field, place, text);
    if constexpr (std::is_same_v<T, double>) {
      if (std::isnan(value)) reject(field, place, text);
    }
    if (!in_range(field.info, static_cast<double>(value))) reject(field, place, text);
  }
  return value;
}

template <class T>
std::string element_text(const T& value) {
  return fmt::format("{}", value);
}

template <class T>
const T* present(const T& value) {
  return &value;
}
template <class T>
const T* present(const std::optional<T>& value) {
  return value ? &*value : nullptr;
}

std::string describe_range(const FieldInfo& info) {
  const bool low = info.min || info.above;
  const bool high = info.max || info.below;
  if (low && high) {
    return fmt::format(" in {}{}, {}{}", info.min ? '[' : '(', info.min ? *info.min : *info.above,
                       info.max ? *info.max : *info.below, info.max ? ']' : ')');
  }
  if (low) return info.min ? fmt::format(" >= {}", *info.min) : fmt::format(" > {}", *info.above);
  if (high) return info.max ? fmt::format(" <= {}", *info.max) : fmt::format(" < {}", *info.below);
  return "";
}

}  // namespace

FieldType type_of(const Field& field) {
  return std::visit(
      []<class T>(T*) {
        using U = Unwrapped<T>;
        return FieldType{kind_of<typename U::Element>(), U::kIsList, U::kIsOptional};
      },
      field.target);
}

void set_field(Field& field, const FieldText& text, const std::string& place) {
  std::visit(
      [&]<class T>(T* target) {
        using U = Unwrapped<T>;
        using Element = typename U::Element;
        if (text.form == FieldText::Form::kNull) {
          if constexpr (U::kIsOptional) {
            target->reset();
          } else {
            throw UsageError(fmt::format("{}: has no value; it takes {}", place, describe_allowed(field)));
          }
        } else if constexpr (U::kIsList) {
          std::vector<Element> values;
          for (const std::string& item : text.items)
            values.push_back(parse_element<Element>(field, item, place));
          *target = std::move(values);
        } else {
          if (text.form == FieldText::Form::kList) {
            reject(field, place, fmt::format("[{}]", join(text.items, ", ")));
          }
          *target = parse_element<Element>(field, text.items.at(0), place);
        }
      },
      field.target);
  field.place = place;
}

FieldText read_field(const Field& field) {
  return std::visit(
      []<class T>(const T* target) {
        FieldText text;
        const auto* value = present(*target);
        if (value == nullptr) {
          text.form = FieldText::Form::kNull;
        } else if constexpr (Unwrapped<T>::kIsList) {
          text.form = FieldText::Form::kList;
          for (const auto& item : *value) text.items.push_back(element_text(item));
        } else {
          text.items.push_back(element_text(*value));
        }
        return text;
      },
      field.target);
}

std::string to_text(const Field& field) {
  return join(read_field(field).items, " ");
}

std::string describe_allowed(const Field& field) {
  const FieldType type = type_of(field);
  const std::string range = describe_range(field.info);
  std::string one;
  std::string many;
  switch (type.kind) {
    case FieldKind::kBool:
      one = many = "true or false";
      break;
    case FieldKind::kInteger:
      one = "an integer" + range;
      many = "integers" + range;
      break;
    case FieldKind::kNumber:
      one = "a number" + range;
      many = "numbers" + range;
      break;
    case FieldKind::kString:
      one = field.info.allowed.empty() ? "a text" : "one of " + join(field.info.allowed, ", ");
      many = field.info.allowed.empty() ? "texts" : "any of " + join(field.info.allowed, ", ");
      break;
  }
  return type.is_list ? "a list of " + many : one;
}

}  // namespace megalith
