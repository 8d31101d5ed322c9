#include "megalith/config/options.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/config/field_value.h"
#include "megalith/config/flags.h"

namespace megalith {

void Options::add_section(Section section) {
  for (const Section& other : sections_) MG_ASSERT(other.name != section.name);
  const size_t index = sections_.size();
  sections_.push_back(std::move(section));
  const std::vector<Field>& fields = sections_.back().fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    const FieldType type = type_of(fields[i]);
    const bool is_switch = type.kind == FieldKind::kBool && !type.is_list;
    Spelling spelling{.section = index, .field = i};
    if (is_switch) spelling.value = "true";
    add_spelling(fields[i].name, spelling);
    if (is_switch) {
      spelling.value = "false";
      add_spelling("no_" + fields[i].name, spelling);
    }
    for (const FieldAlias& alias : fields[i].info.aliases) {
      spelling.value = alias.value;
      if (is_switch && !alias.value) spelling.value = "true";
      spelling.is_alias = true;
      add_spelling(alias.name, spelling);
    }
  }
}

void Options::add_spelling(const std::string& name, Spelling spelling) {
  const bool is_new = spellings_.emplace(name, std::move(spelling)).second;
  if (!is_new) throw std::logic_error(fmt::format("the option name '{}' is declared twice", name));
}

const Options::Spelling* Options::find(std::string_view name) const {
  const auto found = spellings_.find(name);
  return found == spellings_.end() ? nullptr : &found->second;
}

const Field& Options::field(std::string_view name) const {
  const Spelling* spelling = find(name);
  if (spelling == nullptr) throw std::logic_error(fmt::format("there is no option named '{}'", name));
  return sections_[spelling->section].fields[spelling->field];
}

std::vector<std::string> Options::spellings() const {
  std::vector<std::string> names;
  for (const auto& [name, spelling] : spellings_) names.push_back(name);
  return names;
}

void Options::check() const {
  for (const Section& section : sections_) {
    for (const Field& field : section.fields) {
      if (!field.info.required || !field.place.empty()) continue;
      throw UsageError(field.info.positional
                           ? fmt::format("{} is missing: {}", value_name(field), field.info.help)
                           : fmt::format("--{} is missing: {}", kebab_case(field.name), field.info.help));
    }
  }
  for (const Section& section : sections_) {
    if (section.validate) section.validate();
  }
}

}  // namespace megalith
