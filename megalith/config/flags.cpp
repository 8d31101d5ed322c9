#include "megalith/config/flags.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/config/field_value.h"
#include "megalith/config/recipe.h"

namespace megalith {
namespace {

std::string snake_case(std::string_view flag) {
  std::string name(flag);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

bool is_flag(std::string_view argument) {
  return argument.size() > 2 && argument.substr(0, 2) == "--";
}

[[noreturn]] void fail_unknown(const Options& options, std::string_view flag) {
  const std::string name = snake_case(flag.substr(2));
  const std::vector<std::string> known = options.spellings();
  const std::string guess = nearest(name, known);
  throw UsageError(guess.empty()
                       ? fmt::format("unknown flag '{}'; --help-all lists every flag", flag)
                       : fmt::format("unknown flag '{}'; did you mean --{}?", flag, kebab_case(guess)));
}

// "--name", "--name=value" and the values that follow; returns how many arguments were used.
size_t parse_flag(Options& options, std::span<const std::string> arguments) {
  const std::string_view argument = arguments[0];
  const size_t equals = argument.find('=');
  const std::string_view flag = argument.substr(0, equals);
  const Options::Spelling* spelling = options.find(snake_case(flag.substr(2)));
  if (spelling == nullptr) fail_unknown(options, flag);
  Field& field = options.field(*spelling);
  const std::string place(flag);

  if (spelling->value) {
    if (equals == std::string_view::npos) {
      set_field(field, {.items = {*spelling->value}}, place);
    } else if (*spelling->value == "true") {
      set_field(field, {.items = {std::string(argument.substr(equals + 1))}}, place);
    } else {
      throw UsageError(fmt::format("{}: takes no value", flag));
    }
    return 1;
  }
  const bool is_list = type_of(field).is_list;
  if (equals != std::string_view::npos) {
    set_field(field, {.items = {std::string(argument.substr(equals + 1))}}, place);
    return 1;
  }
  size_t end = 1;
  while (end < arguments.size() && (is_list || end < 2) && !is_flag(arguments[end]) &&
         arguments[end] != "--") {
    ++end;
  }
  if (end == 1) {
    throw UsageError(fmt::format("{}: the value is missing; it takes {}", flag, describe_allowed(field)));
  }
  set_field(field,
            {.form = is_list ? FieldText::Form::kList : FieldText::Form::kScalar,
             .items = {arguments.begin() + 1, arguments.begin() + static_cast<std::ptrdiff_t>(end)}},
            place);
  return end;
}

void set_positionals(Options& options, std::span<const std::string> values) {
  for (Section& section : options.sections()) {
    for (Field& field : section.fields) {
      if (!field.info.positional || values.empty()) continue;
      const bool is_list = type_of(field).is_list;
      const size_t count = is_list ? values.size() : 1;
      const auto taken = values.first(count);
      set_field(field,
                {.form = is_list ? FieldText::Form::kList : FieldText::Form::kScalar,
                 .items = {taken.begin(), taken.end()}},
                value_name(field));
      values = values.subspan(count);
    }
  }
  if (!values.empty()) throw UsageError(fmt::format("the argument '{}' is one too many", values[0]));
}

}  // namespace

std::string kebab_case(std::string_view name) {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string value_name(const Field& field) {
  if (!field.info.value_name.empty()) return field.info.value_name;
  if (field.info.positional) {
    std::string upper = field.name;
    for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    return upper;
  }
  switch (type_of(field).kind) {
    case FieldKind::kBool:
      return "";
    case FieldKind::kInteger:
      return "N";
    case FieldKind::kNumber:
      return "X";
    case FieldKind::kString:
      return field.info.allowed.empty() ? "TEXT" : "NAME";
  }
  return "";
}

void parse_flags(Options& options, std::span<const std::string> arguments) {
  std::vector<std::string> positionals;
  size_t next = 0;
  while (next < arguments.size()) {
    const std::string& argument = arguments[next];
    if (argument == "--") {
      positionals.insert(positionals.end(), arguments.begin() + static_cast<std::ptrdiff_t>(next) + 1,
                         arguments.end());
      break;
    }
    if (is_flag(argument)) {
      next += parse_flag(options, arguments.subspan(next));
      continue;
    }
    positionals.push_back(argument);
    ++next;
  }
  set_positionals(options, positionals);
}

void load_options(Options& options, std::span<const std::string> arguments) {
  parse_flags(options, arguments);
  if (options.find("recipe") != nullptr && options.is_set("recipe")) {
    read_recipe(options, to_text(options.field("recipe")));
    parse_flags(options, arguments);
  }
  options.check();
}

}  // namespace megalith
