/* launch.c - what launchers say in the environment of the processes that they start. The first row
 * whose count is there counts: mpirun within a job of Slurm leaves both behind. */
#include <stdlib.h>
#include <string.h>

#include "ranks/ranks.h"

typedef struct launcher {
    const char *by, *count, *rank, *local; /* names of variables */
    bool mpich;
} launcher;

/* SLURM_NTASKS stands in the environment of a batch script too, which is one process: the number of
 * a step's tasks is there only where srun has started them. */
static const launcher launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", false},
    {"mpirun", "PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS", true},
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", NULL, false},
};

enum { MOST = 1 << 20 };

/* The variable's whole number in [0, MOST]; -1: it has none. */
static int number_of(const char *name) {
    const char *text = name ? getenv(name) : NULL;
    char *end = NULL;
    const long value = text ? strtol(text, &end, 10) : -1;
    return text && *text && !*end && value >= 0 && value <= MOST ? (int)value : -1;
}

vn_launch vn_launched(void) {
    vn_launch l = {.count = 1, .local = 1};
    for (size_t i = 0; i < VN_COUNT(launchers); i++) {
        const int count = number_of(launchers[i].count), rank = number_of(launchers[i].rank),
                  local = number_of(launchers[i].local);
        if (count < 1 || rank < 0 || rank >= count) continue;
        l = (vn_launch){.rank = rank,
                        .count = count,
                        .local = local > 0 && local <= count ? local : 0,
                        .by = launchers[i].by,
                        .mpich = launchers[i].mpich};
        break;
    }
    return l;
}
