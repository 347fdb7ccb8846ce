/* launch.c - what launchers say in the environment of the processes that they start. The first row
 * whose count is there counts: mpirun within a job of Slurm leaves both behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/ranks.h"

typedef struct launcher {
    const char *by, *count, *rank, *local; /* names of variables */
    bool mpich;
} launcher;

/* SLURM_NTASKS stands in the environment of a batch script too, which is one process: the number of
 * a step's tasks is there only where srun has started them. With --mpi=pmi2 srun sets MPICH's
 * variables as well, but for the last; its tasks may be of any MPI, and are told by Slurm's. */
static const launcher launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", false},
    {"mpirun", "PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS", true},
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", NULL, false},
    {"mpirun", "PMI_SIZE", "PMI_RANK", NULL, true},
};

enum { MOST = 1 << 20 };

/* The variable's whole number in [0, MOST]; -1: it has none. */
static int number_of(const char *name) {
    const char *text = name ? getenv(name) : NULL;
    char *end = NULL;
    const long value = text ? strtol(text, &end, 10) : -1;
    return text && *text && !*end && value >= 0 && value <= MOST ? (int)value : -1;
}

/* Of the tasks that srun started, those on this machine: "2(x3),1" are 2 on each of the first three
 * and 1 on the next. 0: unknown. */
static int tasks_here(void) {
    const char *text = getenv("SLURM_STEP_TASKS_PER_NODE");
    int before = 0; /* machines */
    const int node = number_of("SLURM_NODEID");
    while (text && node >= 0) {
        int tasks = 0, machines = 1, length = 0;
        if (sscanf(text, "%7d%n", &tasks, &length) != 1) return 0;
        text += length;
        if (sscanf(text, "(x%7d)%n", &machines, &length) == 1)
            text += length;
        else
            machines = 1;
        if (tasks < 1 || machines < 1) return 0;
        if (node < before + machines) return tasks;
        if (*text != ',') return 0;
        before += machines;
        text++;
    }
    return 0;
}

/* Whether the variables are there and the launcher's own: MPICH's mpirun says what is local too,
 * and a shell that srun has started alone is no task of several. */
static bool is_of(const launcher *l, int count, int rank) {
    if (count < 1 || rank < 0 || rank >= count) return false;
    if (strcmp(l->by, "srun") == 0) return count > 1;
    return !l->local || !l->mpich || getenv(l->local);
}

vn_launch vn_launched(void) {
    vn_launch l = {.count = 1, .local = 1};
    for (size_t i = 0; i < VN_COUNT(launchers); i++) {
        const launcher *row = &launchers[i];
        const int count = number_of(row->count), rank = number_of(row->rank);
        if (!is_of(row, count, rank)) continue;
        const int local = row->local                     ? number_of(row->local)
                          : strcmp(row->by, "srun") == 0 ? tasks_here()
                                                         : 0;
        l = (vn_launch){.rank = rank,
                        .count = count,
                        .local = local > 0 && local <= count ? local : 0,
                        .by = row->by,
                        .mpich = row->mpich};
        break;
    }
    return l;
}
