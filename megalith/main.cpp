#include "megalith/cli/cli.h"

int main(int argc, char** argv) {
  return megalith::run_cli({argv + (argc > 0 ? 1 : 0), argv + argc});
}
