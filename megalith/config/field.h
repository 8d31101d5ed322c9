#pragma once
// defines: FieldTarget, FieldInfo, FieldAlias, Field, FieldList

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace megalith {

/// What an option may be stored in. A list is given as `--flag a b c` and as `key: [a, b, c]`; an optional is
/// unset by default and takes `null` in a recipe.
using FieldTarget =
    std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*, std::vector<double>*,
                 std::vector<std::string>*, std::optional<bool>*, std::optional<int64_t>*,
                 std::optional<double>*, std::optional<std::string>*, std::optional<std::vector<int64_t>>*,
                 std::optional<std::vector<double>>*, std::optional<std::vector<std::string>>*>;

/// Another spelling of an option. With a value it is a flag that takes none and sets that value, as
/// Megatron's
/// `--disable-bias-linear` sets add_bias_linear to false.
struct FieldAlias {
  std::string name;  ///< snake_case
  std::optional<std::string> value;
};

struct FieldInfo {
  std::string help;
  std::optional<double> min;         ///< smallest value allowed (every element of a list)
  std::optional<double> above;       ///< values must be greater than this
  std::optional<double> max;         ///< largest value allowed
  std::optional<double> below;       ///< values must be less than this
  std::vector<std::string> allowed;  ///< strings: the only ones accepted
  std::vector<FieldAlias> aliases;
  std::string value_name;   ///< what --help shows for the value: "FILE"; by default from the type
  bool main = false;        ///< shown by --help; the others by --help-all
  bool positional = false;  ///< may be given without its flag; a list takes all that are left
  bool required = false;
};

/// One option: its name (snake_case in recipes, kebab-case on the command line), where its value is stored,
/// what it means, and where the present value came from.
struct Field {
  std::string name;
  FieldTarget target;
  FieldInfo info;
  std::string default_text;  ///< as to_text() printed it when it was declared; "" when unset or empty
  std::string place;         ///< "" for the default, else "recipe.yaml:12: lr" or "--lr"
};

/// Collects the fields of one config struct. Every struct has one function, found by its argument:
///
///     void declare_fields(OptimConfig& c, FieldList& f) {
///       f.add("lr", c.lr, {.help = "peak learning rate", .min = 0, .main = true});
///       f.add("lr_decay_style", c.lr_decay_style, {.help = "...", .allowed = {"constant", "cosine"}});
///     }
///
/// From it come the recipe's keys, the flags, --help, the checks, the printed config and the docs table.
class FieldList {
 public:
  /// The target must outlive the list. The present value is the default.
  void add(std::string name, FieldTarget target, FieldInfo info = {});
  template <class T>
  void add(std::string name, T& value, FieldInfo info = {}) {
    add(std::move(name), FieldTarget(&value), std::move(info));
  }
  std::vector<Field>& fields() { return fields_; }

 private:
  std::vector<Field> fields_;
};

}  // namespace megalith
