#pragma once
// defines: expand_layout

#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// The stages of a pipeline layout with its repetitions written out, as strings of the letters E, t, m, L:
/// "Et*2|(tL)" -> {"Ett", "tL"}. Throws UsageError naming the column that cannot be read.
std::vector<std::string> expand_layout(std::string_view layout);

}  // namespace megalith
