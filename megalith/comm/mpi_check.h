#pragma once
// defines: MG_MPI_CHECK

#include <string>

#include <mpi.h>

#include "megalith/base/error.h"

namespace megalith {

inline std::string mpi_message(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return fmt::format("error {}", code);
  return {text, static_cast<size_t>(length)};
}

}  // namespace megalith

/// For calls on communicators whose errors are returned.
#define MG_MPI_CHECK(call)                                                                       \
  do {                                                                                           \
    const int mg_mpi_code = (call);                                                              \
    MG_CHECK(mg_mpi_code == MPI_SUCCESS, "{}: {}", #call, ::megalith::mpi_message(mg_mpi_code)); \
  } while (0)
