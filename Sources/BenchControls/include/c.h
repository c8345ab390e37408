int bench_c(void);
