"""The only callers of Slurm's programs: sbatch, squeue, sacct, scontrol and scancel. No torch."""
