#include "megalith/config/help.h"

#include <algorithm>

#include <fmt/format.h>

#include "megalith/base/text.h"
#include "megalith/base/wrapped_text.h"
#include "megalith/config/field_value.h"
#include "megalith/config/flags.h"

namespace megalith {
namespace {

constexpr size_t kColumn = 30;  // where the meaning begins

bool is_switch(const Field& field) {
  const FieldType type = type_of(field);
  return type.kind == FieldKind::kBool && !type.is_list;
}

std::string positional_usage(const Field& field) {
  std::string name = value_name(field);
  if (type_of(field).is_list) name += "...";
  return field.info.required ? name : "[" + name + "]";
}

std::string flag_usage(const Field& field) {
  std::string usage = "--" + kebab_case(field.name);
  if (is_switch(field)) {
    return field.default_text == "true" ? "--[no-]" + kebab_case(field.name) : usage;
  }
  usage += " " + value_name(field);
  return type_of(field).is_list ? usage + "..." : usage;
}

// Meaning, choices, default: what stands right of the flag.
std::string meaning(const Field& field) {
  std::string text = field.info.help;
  if (is_switch(field)) return field.default_text == "true" ? text + " [on]" : text;
  if (!field.info.allowed.empty()) text += ": " + join(field.info.allowed, ", ");
  if (!field.default_text.empty() && !field.info.required) text += fmt::format(" [{}]", field.default_text);
  return text;
}

std::string wrapped(const std::string& left, const std::string& right, size_t width) {
  std::string out = "  " + left;
  if (out.size() + 2 > kColumn) {
    out += "\n" + std::string(kColumn, ' ');
  } else {
    out.resize(kColumn, ' ');
  }
  return out + wrapped_text(right, {.width = width, .indent = kColumn}) + "\n";
}

// As a shell takes it on several lines; breaks only where no quotes are open.
std::string wrapped_example(const std::string& example, size_t width) {
  std::string out = "  ", word;
  size_t column = 2;
  bool is_quoted = false;
  const auto add_word = [&] {
    if (column > 2 && column + 1 + word.size() + 2 > width) {
      out += " \\\n     ";
      column = 5;
    }
    if (column > 2) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    word.clear();
  };
  for (const char c : example) {
    if (c == '\'') is_quoted = !is_quoted;
    if (c == ' ' && !is_quoted)
      add_word();
    else
      word += c;
  }
  add_word();
  return out + "\n";
}

std::string type_name(const Field& field) {
  const FieldType type = type_of(field);
  const char* name = type.kind == FieldKind::kBool      ? "bool"
                     : type.kind == FieldKind::kInteger ? "int"
                     : type.kind == FieldKind::kNumber  ? "float"
                                                        : "text";
  return type.is_list ? fmt::format("list of {}", name) : name;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string help_text(const Options& options, const HelpText& text, HelpScope scope) {
  const auto width = static_cast<size_t>(std::max(60, text.width));
  std::string usage = "usage: " + text.command;
  std::string arguments;
  std::string body;
  int64_t hidden = 0;
  for (const Section& section : options.sections()) {
    std::string lines;
    for (const Field& field : section.fields) {
      if (field.info.positional) {
        usage += " " + positional_usage(field);
        arguments += wrapped(value_name(field), meaning(field), width);
      } else if (scope == HelpScope::kAll || field.info.main || field.info.required) {
        lines += wrapped(flag_usage(field), meaning(field), width);
      } else {
        ++hidden;
      }
    }
    if (!lines.empty()) body += fmt::format("\n{}:\n{}", section.title, lines);
  }
  std::string out = usage + " [OPTIONS]\n\n" + wrapped_text(text.summary, {.width = width}) + "\n";
  if (!arguments.empty()) out += "\n" + arguments;
  out += body;
  if (!text.examples.empty()) {
    out += text.examples.size() == 1 ? "\nExample:\n" : "\nExamples:\n";
    for (const std::string& example : text.examples) out += wrapped_example(example, width);
  }
  if (hidden > 0) out += fmt::format("\n{} more options: {} --help-all\n", hidden, text.command);
  return out;
}

std::string markdown_table(const Options& options) {
  std::string out;
  for (const Section& section : options.sections()) {
    out += fmt::format("{}### {}\n\n| option | type | default | meaning |\n|---|---|---|---|\n",
                       out.empty() ? "" : "\n", section.title);
    for (const Field& field : section.fields) {
      std::string rule;
      if (!is_switch(field) && describe_allowed(field) != "a text") rule = describe_allowed(field);
      std::string aliases;
      for (const FieldAlias& alias : field.info.aliases) {
        aliases += fmt::format("; also `--{}`", kebab_case(alias.name));
        if (alias.value) aliases += fmt::format(" (sets {})", *alias.value);
      }
      out += fmt::format(
          "| `{}` | {} | {} | {}{}{} |\n", field.name, type_name(field),
          field.default_text.empty() || field.info.required ? "" : "`" + escaped(field.default_text) + "`",
          escaped(field.info.help), rule.empty() ? "" : " (" + escaped(rule) + ")", aliases);
    }
  }
  return out;
}

}  // namespace megalith
