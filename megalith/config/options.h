#pragma once
// defines: Section, SectionUse, Options

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "megalith/config/field.h"

namespace megalith {

enum class SectionUse {
  kRecipe,       ///< a section of the recipe; its fields are flags too
  kCommandLine,  ///< flags and positional arguments of one command
};

/// The fields of one config struct.
struct Section {
  std::string name;   ///< key of the recipe: "model"
  std::string title;  ///< heading of --help: "Model"
  SectionUse use = SectionUse::kRecipe;
  std::vector<Field> fields;
  std::function<void()> validate;
};

/// All options of a command: the config structs it reads, section by section. The structs must outlive this
/// object and stay where they are. Field names are unique over all sections.
///
///     Options options;
///     options.add({.name = "model", .title = "Model"}, config.model);
///     read_recipe(options, "recipe.yaml");      // megalith/config/recipe.h
///     parse_flags(options, arguments);          // megalith/config/flags.h
///     options.check();
class Options {
 public:
  /// Calls `declare_fields(config, fields)`, and `validate(config)` in check() if there is such a function:
  /// it throws UsageError for combinations of values that cannot be.
  template <class Config>
  void add(Section section, Config& config) {
    FieldList list;
    declare_fields(config, list);
    section.fields = std::move(list.fields());
    if constexpr (requires { validate(std::as_const(config)); }) {
      section.validate = [&config] { validate(std::as_const(config)); };
    }
    add_section(std::move(section));
  }

  std::vector<Section>& sections() { return sections_; }
  const std::vector<Section>& sections() const { return sections_; }

  /// What a name stands for on the command line: a field, and the value it sets if it takes none.
  struct Spelling {
    size_t section = 0;
    size_t field = 0;
    std::optional<std::string> value;  ///< "true" for a boolean's name, "false" for no_NAME
    bool is_alias = false;
  };
  /// `name` in snake_case; nullptr when unknown.
  const Spelling* find(std::string_view name) const;
  Field& field(const Spelling& spelling) { return sections_[spelling.section].fields[spelling.field]; }
  const Field& field(std::string_view name) const;

  /// True when a recipe or a flag gave the value.
  bool is_set(std::string_view name) const { return !field(name).place.empty(); }

  /// Every spelling, for suggestions.
  std::vector<std::string> spellings() const;

  /// Required fields are there, and the structs' own validate() agree. Throws UsageError.
  void check() const;

 private:
  void add_section(Section section);
  void add_spelling(const std::string& name, Spelling spelling);

  std::vector<Section> sections_;
  std::map<std::string, Spelling, std::less<>> spellings_;
};

}  // namespace megalith
