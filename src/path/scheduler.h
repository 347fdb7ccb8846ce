/* scheduler.h - diffusers' scheduler_config.json as a path and a prediction, both ways, and the one
 * list of the scheduler classes that vane follows. What a config says of sampling is read by
 * sample/scheduler.c. */
#ifndef VN_PATH_SCHEDULER_H
#define VN_PATH_SCHEDULER_H

#include "path/path.h"
#include "path/prediction.h"

/* Classes of diffusers: the path of each, its default betas (of the ddpm path), its default
 * beta_schedule (NULL: linear), and read_NAME of sample/scheduler.c, which reads what it says of
 * sampling. Which class is written is said in path/scheduler.c. */
/* clang-format off */
#define VN_SCHEDULER_CLASSES(ROW) \
    ROW(DDPMScheduler, "ddpm", 0.0001, 0.02, NULL, ddpm) \
    ROW(DDPMParallelScheduler, "ddpm", 0.0001, 0.02, NULL, ddpm) \
    ROW(DDIMScheduler, "ddpm", 0.0001, 0.02, NULL, ddim) \
    ROW(DDIMParallelScheduler, "ddpm", 0.0001, 0.02, NULL, ddim) \
    ROW(DDIMInverseScheduler, "ddpm", 0.0001, 0.02, NULL, inverse) \
    ROW(PNDMScheduler, "ddpm", 0.0001, 0.02, NULL, pndm) \
    ROW(RePaintScheduler, "ddpm", 0.0001, 0.02, NULL, repaint) \
    ROW(UnCLIPScheduler, "ddpm", 0.0001, 0.02, "squaredcos_cap_v2", unclip) \
    ROW(LMSDiscreteScheduler, "ddpm", 0.0001, 0.02, NULL, lms) \
    ROW(EulerDiscreteScheduler, "ddpm", 0.0001, 0.02, NULL, euler) \
    ROW(EulerAncestralDiscreteScheduler, "ddpm", 0.0001, 0.02, NULL, euler_ancestral) \
    ROW(HeunDiscreteScheduler, "ddpm", 0.00085, 0.012, NULL, heun) \
    ROW(KDPM2DiscreteScheduler, "ddpm", 0.00085, 0.012, NULL, k_dpm2) \
    ROW(KDPM2AncestralDiscreteScheduler, "ddpm", 0.00085, 0.012, NULL, k_dpm2_ancestral) \
    ROW(LCMScheduler, "ddpm", 0.00085, 0.012, "scaled_linear", lcm) \
    ROW(TCDScheduler, "ddpm", 0.00085, 0.012, "scaled_linear", tcd) \
    ROW(DPMSolverMultistepScheduler, "ddpm", 0.0001, 0.02, NULL, dpm_multistep) \
    ROW(DPMSolverMultistepInverseScheduler, "ddpm", 0.0001, 0.02, NULL, inverse) \
    ROW(DPMSolverSinglestepScheduler, "ddpm", 0.0001, 0.02, NULL, dpm_singlestep) \
    ROW(DPMSolverSDEScheduler, "ddpm", 0.00085, 0.012, NULL, dpm_sde) \
    ROW(DEISMultistepScheduler, "ddpm", 0.0001, 0.02, NULL, deis) \
    ROW(SASolverScheduler, "ddpm", 0.0001, 0.02, NULL, sa_solver) \
    ROW(UniPCMultistepScheduler, "ddpm", 0.0001, 0.02, NULL, unipc) \
    ROW(FlowMatchEulerDiscreteScheduler, "rectified", 0, 0, NULL, flow_euler) \
    ROW(FlowMatchHeunDiscreteScheduler, "rectified", 0, 0, NULL, flow_heun) \
    ROW(FlowMatchLCMScheduler, "rectified", 0, 0, NULL, flow_lcm) \
    ROW(EDMEulerScheduler, "edm", 0, 0, NULL, edm_euler) \
    ROW(EDMDPMSolverMultistepScheduler, "edm", 0, 0, NULL, edm_dpm)
/* clang-format on */

/* A new object that diffusers opens as this path and prediction, and, with learns_variance, with a
 * learned variance. Where diffusers has no such class it has a class name of vane's own. NULL: out
 * of memory. */
json_t *vn_path_scheduler(const vn_path *p, const vn_prediction *predict, bool learns_variance);
/* The path and prediction that a scheduler config describes. VN_UNSUPPORTED names a key that
 * changes the path and is not known here; keys that only affect sampling (timestep_spacing,
 * clip_sample, ...) are read by vn_scheduler_read. */
vn_status vn_path_from_scheduler(const json_t *config, vn_path **path, vn_prediction *predict,
                                 vn_err *err);

#endif
