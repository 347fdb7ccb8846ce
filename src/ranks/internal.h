/* internal.h - what the files of ranks share. */
#ifndef VN_RANKS_INTERNAL_H
#define VN_RANKS_INTERNAL_H

#include "ranks/ranks.h"

/* carrier.c: a thread that alone calls a transport, so that others can wait for it with an end to
 * their patience. */
typedef struct vn_carrier vn_carrier;

/* Opens the transport. */
vn_status vn_carrier_open(const vn_transport *t, const vn_ranks_options *o, vn_carrier **out,
                          vn_err *err);
/* Safe on NULL. together: the other ranks close too, and are waited for. */
void vn_carrier_close(vn_carrier **c, bool together);
int vn_carrier_rank(const vn_carrier *c);
int vn_carrier_count(const vn_carrier *c);
/* Waits for the messages. VN_IO: a rank has not answered in time, or is lost; all later exchanges
 * fail likewise. */
vn_status vn_carrier_exchange(vn_carrier *c, int n, const vn_message *m, vn_err *err);
void vn_carrier_set_patient(vn_carrier *c, bool patient);
void vn_carrier_set_step(vn_carrier *c, int64_t step);
/* The rank that did not answer; -1: unknown which. */
enum { VN_NONE_LOST = -2 };
int vn_carrier_lost(const vn_carrier *c);

#endif
