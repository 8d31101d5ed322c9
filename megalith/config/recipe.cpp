#include "megalith/config/recipe.h"

#include <set>

#include <yaml-cpp/yaml.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/config/field_value.h"

namespace megalith {
namespace {

std::string place_of(const std::string& file, const YAML::Node& node) {
  const int line = node.Mark().line;
  return line < 0 ? file : fmt::format("{}:{}", file, line + 1);
}

[[noreturn]] void fail_at(const std::string& file, const YAML::Node& node, const std::string& what) {
  throw UsageError(fmt::format("{}: {}", place_of(file, node), what));
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const std::string guess = nearest(word, known);
  return guess.empty() ? fmt::format("; allowed: {}", join(known, ", "))
                       : fmt::format("; did you mean {}?", guess);
}

std::string key_of(const std::string& file, const YAML::Node& key) {
  if (!key.IsScalar()) fail_at(file, key, "a key must be a name");
  return key.Scalar();
}

Section* find_section(Options& options, const std::string& name) {
  for (Section& section : options.sections()) {
    if (section.use == SectionUse::kRecipe && section.name == name) return &section;
  }
  return nullptr;
}

FieldText text_of(const std::string& file, const std::string& key, const YAML::Node& node) {
  FieldText text;
  if (node.IsNull()) {
    text.form = FieldText::Form::kNull;
  } else if (node.IsScalar()) {
    text.items.push_back(node.Scalar());
  } else if (node.IsSequence()) {
    text.form = FieldText::Form::kList;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) fail_at(file, item, fmt::format("{}: an element must be a plain value", key));
      text.items.push_back(item.Scalar());
    }
  } else {
    fail_at(file, node, fmt::format("{}: takes a value, not a mapping", key));
  }
  return text;
}

// The key is not a field of this section: say where it belongs or what it resembles.
[[noreturn]] void fail_unknown_key(Options& options, const Section& section, const std::string& file,
                                   const YAML::Node& key) {
  const std::string& name = key.Scalar();
  if (const Options::Spelling* spelling = options.find(name)) {
    const Field& field = options.field(*spelling);
    const Section& home = options.sections()[spelling->section];
    if (home.use == SectionUse::kCommandLine) {
      fail_at(file, key, fmt::format("{} is an option of the command line only", name));
    }
    if (name != field.name && spelling->value) {
      fail_at(file, key,
              fmt::format("{} is a flag; in a recipe write {}: {}", name, field.name, *spelling->value));
    }
    fail_at(file, key,
            fmt::format("{} belongs in section {}, not in {}", field.name, home.name, section.name));
  }
  std::vector<std::string> names;
  for (const Field& field : section.fields) names.push_back(field.name);
  std::string hint = nearest(name, names);
  if (hint.empty()) {
    for (const Section& other : options.sections()) {
      if (other.use != SectionUse::kRecipe || !hint.empty()) continue;
      std::vector<std::string> others;
      for (const Field& field : other.fields) others.push_back(field.name);
      hint = nearest(name, others);
      if (!hint.empty()) hint += fmt::format(" (section {})", other.name);
    }
  }
  fail_at(file, key,
          fmt::format("unknown key '{}' in section {}{}", name, section.name,
                      hint.empty() ? "" : fmt::format("; did you mean {}?", hint)));
}

Field& find_field(Options& options, const Section& section, const std::string& file, const YAML::Node& key) {
  const std::string name = key_of(file, key);
  const Options::Spelling* spelling = options.find(name);
  if (spelling != nullptr) {
    Field& field = options.field(*spelling);
    const bool renames = spelling->is_alias && (!spelling->value || *spelling->value == "true");
    const bool here = &options.sections()[spelling->section] == &section;
    if (here && (field.name == name || renames)) return field;
  }
  fail_unknown_key(options, section, file, key);
}

void read_section(Options& options, Section& section, const std::string& file, const YAML::Node& node) {
  if (node.IsNull()) return;
  if (!node.IsMap())
    fail_at(file, node, fmt::format("section {} must hold 'key: value' lines", section.name));
  std::set<std::string> seen;
  for (const auto& entry : node) {
    Field& field = find_field(options, section, file, entry.first);
    if (!seen.insert(field.name).second) {
      fail_at(file, entry.first, fmt::format("{} is given twice", field.name));
    }
    set_field(field, text_of(file, field.name, entry.second),
              fmt::format("{}: {}", place_of(file, entry.first), field.name));
  }
}

YAML::Node load(std::string_view text, const std::string& file) {
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(std::string(text));
  } catch (const YAML::Exception& error) {
    throw UsageError(fmt::format("{}:{}: not valid YAML: {}", file, error.mark.line + 1, error.msg));
  }
  if (documents.size() > 1) fail_at(file, documents[1], "a recipe is one YAML document");
  return documents.empty() ? YAML::Node() : documents[0];
}

// The shortest YAML spelling that reads back as the same text.
std::string quoted(const std::string& text) {
  YAML::Emitter out;
  out << text;
  const std::string plain = out.c_str();
  const bool is_null_word = text == "null" || text == "Null" || text == "NULL" || text == "~" || text.empty();
  return is_null_word ? fmt::format("\"{}\"", text) : plain;
}

std::string yaml_value(const Field& field) {
  const FieldText text = read_field(field);
  if (text.form == FieldText::Form::kNull) return "null";
  const bool is_string = type_of(field).kind == FieldKind::kString;
  std::vector<std::string> items;
  for (const std::string& item : text.items) {
    const bool flow_safe = item.find_first_of(",[]{}") == std::string::npos;
    YAML::Emitter strict;
    strict << YAML::DoubleQuoted << item;
    items.push_back(!is_string ? item : flow_safe ? quoted(item) : strict.c_str());
  }
  return text.form == FieldText::Form::kList ? fmt::format("[{}]", join(items, ", ")) : items.at(0);
}

}  // namespace

void parse_recipe(Options& options, std::string_view text, const std::string& name) {
  const YAML::Node root = load(text, name);
  if (root.IsNull()) return;
  if (!root.IsMap()) fail_at(name, root, "a recipe holds sections such as 'model:'");
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const std::string key = key_of(name, entry.first);
    Section* section = find_section(options, key);
    if (section == nullptr) {
      std::vector<std::string> known;
      for (const Section& other : options.sections()) {
        if (other.use == SectionUse::kRecipe) known.push_back(other.name);
      }
      const Options::Spelling* spelling = options.find(key);
      const bool is_field =
          spelling != nullptr && options.sections()[spelling->section].use == SectionUse::kRecipe;
      fail_at(name, entry.first,
              is_field
                  ? fmt::format("{} belongs in section {}", key, options.sections()[spelling->section].name)
                  : fmt::format("unknown section '{}'{}", key, suggestion(key, known)));
    }
    if (!seen.insert(key).second) fail_at(name, entry.first, fmt::format("section {} is given twice", key));
    read_section(options, *section, name, entry.second);
  }
}

void read_recipe(Options& options, const std::filesystem::path& path) {
  parse_recipe(options, read_text_file(path), path.string());
}

std::string to_yaml(const Options& options, YamlComments comments) {
  std::string out;
  for (const Section& section : options.sections()) {
    if (section.use != SectionUse::kRecipe) continue;
    out += fmt::format("{}{}:\n", out.empty() ? "" : "\n", section.name);
    for (const Field& field : section.fields) {
      if (comments == YamlComments::kHelp) {
        out += fmt::format("  # {} ({})\n", field.info.help, describe_allowed(field));
      }
      out += fmt::format("  {}: {}\n", field.name, yaml_value(field));
    }
  }
  return out;
}

}  // namespace megalith
