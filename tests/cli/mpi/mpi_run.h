#pragma once
// defines: mpirun

#include <string>

#include "tests/cli/train_run.h"

namespace megalith {

/// `options`: of mpirun, as "-x NAME=value ".
inline std::string mpirun(int ranks, const std::string& options = "") {
  return std::string(MG_MPIRUN) + " " + options + "-np " + std::to_string(ranks) + " ";
}

}  // namespace megalith
