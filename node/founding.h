/*
 * founding - `flynode init` and `flynode join`: what a person types to make a node. Each returns
 * the process's exit code: 0; 64 usage; 77 refused; 69 nobody reached; 1 all else. Shell.
 */
#ifndef FLY_NODE_FOUNDING_H
#define FLY_NODE_FOUNDING_H

int init_run(int argc, char **argv);
int join_run(int argc, char **argv);

#endif
