//! Cases of structured-merge-diff and apimachinery, told with served kinds; and properties.
