/* Keeps the oracle archive from being empty. */
extern int fly_oracles_archive;
int fly_oracles_archive;
