//! Integration tests.

/// The OpenAPI document: its two forms, its completeness, its validity.
mod openapi;
