/* The command of `bursts`: its first instruction is to print the time (CLOCK_MONOTONIC, which all namespaces share), in nanoseconds. */
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	return 0;
}
