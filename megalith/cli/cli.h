#pragma once
// defines: run_cli

#include <string>
#include <vector>

namespace megalith {

/// The program: finds the subcommand and runs it. `arguments` are those after the program's name. Returns the
/// exit status: 0 done, 1 failed, 2 a wrong command line or recipe. Errors are printed to stderr as
/// `error: MESSAGE`.
int run_cli(const std::vector<std::string>& arguments);

}  // namespace megalith
