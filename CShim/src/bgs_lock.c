#include "bgs_lock.h"
